"""What recording itself cost the run."""
