"""The input pipeline: is training held up by its data, and by which part of loading?"""
