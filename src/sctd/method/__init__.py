"""The papers: token dropping (Hou et al., ACL 2022) and semantic-consistent learning (ScTD, Zhong et al., ACL 2023).

importance.py    the running importance of each token id
keep_rules.py    what decides which tokens are kept: importance, random, frequency
selection.py     the K kept tokens of each sequence
dropping.py      the full pass and the pass with dropping, and what they share
consistency.py   how far the two passes are apart
interval.py      which steps make them agree
objectives.py    the losses of dense, drop and sctd
"""
