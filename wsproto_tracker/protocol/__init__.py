"""The protocol of ``protocol-spec/SPEC.md``, Sans-I/O: text in, values and actions out. No trio here, and no store."""
