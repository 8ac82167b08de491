"""The recipes: one per command. They hand over to each other through files only."""
