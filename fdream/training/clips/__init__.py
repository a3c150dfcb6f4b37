"""Where the video objective's clips come from: SpriteWorld, or shards of anybody's videos."""
