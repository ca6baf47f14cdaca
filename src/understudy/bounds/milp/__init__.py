"""Mode `milp`: linear and mixed-integer programs of the logits' differences, solved by HiGHS."""

from understudy.bounds.milp.gaps import milp_gaps as milp_gaps
