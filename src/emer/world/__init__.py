"""A simulated short-video platform: users, videos, a multi-task stage, candidates, sessions. No ranker.

True preferences (affinity, true rates, P(y | watch time)) stay in here; a log holds what a platform sees.

Calibration: intercepts were fitted so that the default policy (equal-exponent product, best 8 of 64
candidates) has KuaiRand's published marginals under its standard policy. Mean of six worlds, 170,000
impressions each, in per cent where no unit is given; *random* shows uniformly drawn videos, not fitted.

============================  ========  ========  =============  =============
quantity                      KuaiRand  here      random, KR     random, here
============================  ========  ========  =============  =============
click                         37.87     37.9      17.62          20.9
long view                     26.05     25.9      8.50           13.7
like                          1.665     1.67      0.480          0.81
follow                        0.107     0.108     0.026          0.040
comment                       0.252     0.258     0.035          0.074
forward                       0.087     0.084     0.034          0.047
dislike                       0.048     0.050     0.114          0.084
watch time, mean / median     14.7/3.1  14.2/3.3  6.9/2.1 s      7.3/2.1 s
duration shown, mean/median   73/29     79/46     104/77 s       57/31 s
============================  ========  ========  =============  =============

Known misfits: random exposure is too good (eight of 64 is a milder selection than a production funnel) and
the pool's videos are too short. With more candidates per request the rates of the default policy rise.
"""
