"""Requirements that have no check, and why: what cannot be seen from outside is not judged."""

__all__ = ["UNSEEN"]

UNSEEN = {
    "CONN-9": "a client cannot make a server stop reading, nor know that it has",
    "ACK-5": "a client cannot take the server's process away",
    "ACK-7": "a client cannot take the server's disk away",
    "FILTER-1": "it allows, and asks for nothing; each filter has checks of its own",
    "CLOSE-4": "a client cannot shut the server down",
    "CLOSE-5": "a client cannot know when a server is overloaded",
    "HTTP-17": "a client cannot take the server's disk away",
    "SEC-2": "a comparison that leaks its time over a network cannot be told from noise with any certainty",
    "LIMIT-3": "a client cannot see the memory of a server",
    "LIMIT-4": "it allows, and asks for nothing",
    "LIMIT-7": "how fast a server reads cannot be told from how fast the network is",
    "X-REJECT-2": "it allows, and asks for nothing",
    "X-BEHIND-1": "a client cannot cut a server off from its cluster",
    "X-LATE-1": "a client cannot take the server's disk away",
    "X-SUB-3": "a server whose push is switched off cannot be told from one that has none",
    "X-SUB-2": "the bound is the server's own, and reaching it would take as much as that",
}
