"""A bundle as a folder of static files: the model runs in the visitor's browser."""

from __future__ import annotations

from pe_deploy.web.publish import publish
from pe_deploy.web.site import Input, Site, make_site

__all__ = ["Input", "Site", "make_site", "publish"]
