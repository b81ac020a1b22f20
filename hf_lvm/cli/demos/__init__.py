"""What each demo says: one module a demo, with `main(output_dir, flags, compare)`."""
