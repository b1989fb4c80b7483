"""What a person looks at afterwards: one file a page, with the tables that the screen shows."""
