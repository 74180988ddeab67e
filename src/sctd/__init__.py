"""sctd: pretrain BERT-style encoders in less time, without losing what they understand.

Token dropping (Hou et al., ACL 2022) with semantic-consistent learning (Zhong et al., ACL 2023).
The verbs of the command line are plain functions; see `sctd.cli.VERBS`.
"""

__version__ = "0.1.0"
