"""One file a verb: `options(parser)` declares what it takes, `run(args)` carries it out and returns the exit code."""
