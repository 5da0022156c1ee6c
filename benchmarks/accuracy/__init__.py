"""The accuracy benchmark: programs and recordings with a known answer, and the score of ours."""
