"""The data sets in their native layouts, their protocols, and the tables and caches between the stages."""
