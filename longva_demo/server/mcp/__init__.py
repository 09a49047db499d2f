"""MCP: tools for an agent that looks at a video coarsely, then closely. Needs the package `mcp` (extra [mcp])."""
