"""Reading and writing what the model eats and makes: images, videos, their metadata, data sets."""
