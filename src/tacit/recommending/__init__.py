"""What comes next in a sequence of events: rankings by a run's network and by the classics, and how good each is."""
