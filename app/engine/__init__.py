"""Engine: time, threads and the model; no web framework and no picture codecs."""
