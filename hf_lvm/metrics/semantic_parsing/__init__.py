"""Do the meanings that a semantic parser found agree with gold ones, and better than what needs no parser?"""
