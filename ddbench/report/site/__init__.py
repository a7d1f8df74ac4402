"""The leaderboard: a static site that is a pure function of records. It opens from disk, without a network."""
