"""Sinks for tools of other fields: Lab Streaming Layer and Open Sound Control."""
