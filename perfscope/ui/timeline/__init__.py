"""The data of the timeline: routes of the server, and data inside an HTML file."""
