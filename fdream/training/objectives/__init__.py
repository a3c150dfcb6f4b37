"""What can be trained: autoencoder, contrastive pair, image base and video generator."""
