"""What a run is turned into: JSON, JUnit XML, a page, and what a terminal shows."""
