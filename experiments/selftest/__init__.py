"""The harness in simulated worlds with known effects: what does it find, and is that true?"""
