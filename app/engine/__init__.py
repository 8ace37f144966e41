"""Engine: scheduling, threads and models; it imports no web framework and no picture codec."""
