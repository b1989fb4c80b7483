"""What a person looks at after a run: tables, depth pictures, charts, and the page that gathers them."""
