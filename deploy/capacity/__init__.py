"""How many workers, preprocessing pods and Tritons a number of studies an hour needs, by simulation."""
