"""The papers: token dropping (Hou et al., ACL 2022) and semantic-consistent learning (ScTD, Zhong et al., ACL 2023).

importance.py    the running importance of each token id
keep_rules.py    what decides which tokens are kept: importance, random, frequency
selection.py     the K kept tokens of each sequence
route.py         the way of the kept tokens through the middle layers
dropping.py      the full pass and the pass with dropping, and what they share
consistency.py   how far the two passes are apart
step_plan.py     which steps drop tokens, and which make the passes agree
objectives.py    the losses of dense, drop and sctd
cost.py          the multiply-adds of a step
drift.py         how far, layer by layer, the passes are apart
"""
