"""The timeline component's side of the server, and its data inside one HTML file."""
