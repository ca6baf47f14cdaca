"""How an audit or a comparison is shown: terminal tables (`table`), one self-contained page (`page`)."""
