"""Known faults planted into a bundle's models: is the proof any good?"""
