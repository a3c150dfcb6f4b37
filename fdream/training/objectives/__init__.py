"""What can be trained: the autoencoder, the contrastive pair, the image base and the video generator."""
