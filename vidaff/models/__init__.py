"""Models: ``video`` (two-stream autoencoder); ``layers`` holds the parts they share."""
