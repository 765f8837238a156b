"""FetusMapV2 (Chen et al. 2023): landmarks of the whole fetus in volumes, with memory planned for large inputs."""
