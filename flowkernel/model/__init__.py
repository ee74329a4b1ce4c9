"""Pure data: what flows between the layers. Imports nothing but the standard library and msgspec."""
