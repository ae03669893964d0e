"""How fast a bundle is, beside the engines that its user would otherwise pick."""
