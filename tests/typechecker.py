"""How annotations are checked while testing: by beartype, with an int allowed where a float is expected (PEP 484)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
