"""The gateway: sessions and public APIs in, links to instances out, routing between them."""
