"""What a bundle is: its files, its manifest, its golden vectors; opened verified, and signed."""
