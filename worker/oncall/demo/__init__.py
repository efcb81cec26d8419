"""`unbinding demo`: a whole installation on this machine, every kind of request, a kill, and a judgement."""
