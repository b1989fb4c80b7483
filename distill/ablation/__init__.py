"""Many runs that differ in a few keys, and one table of them."""
