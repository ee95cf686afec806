"""What is stored: the domain model, codecs, stores."""
