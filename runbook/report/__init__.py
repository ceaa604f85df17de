"""What people are told of a run: journal -> RunView -> text or JSON. Pure."""
