"""Speed and endurance, measured against named peers; figures in results/."""
