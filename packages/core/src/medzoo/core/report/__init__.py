"""`medzoo report RUN …`: what runs left, as one HTML page that needs nothing else."""
