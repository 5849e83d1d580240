"""What proves the conformance suite: a reference server, servers that are broken, empty or odd, and the kill matrix."""
