"""Branch and bound on the joint problem: both networks, one input, one difference of confidences."""
