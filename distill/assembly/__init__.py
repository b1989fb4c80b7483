"""A configuration becomes the objects of a run. The only room that knows every part."""
