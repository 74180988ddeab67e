"""BERT exactly as Hugging Face's, with every layer able to run at chosen rows."""
