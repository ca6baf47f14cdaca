"""What the experiments are made of: their data, their models, their ways of training, their figures."""
